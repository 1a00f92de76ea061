"""Disk and text: no pictures, no settings.

atomic      files that are whole or absent; disk errors in words
http        the one client for files on the web, pictures and weights
lock        a lock that ends with its process
paths       a path that the user wrote, looked up in folders; a path as a shell takes it
places      where the package's own files and the recipes lie
regular     the bytes of a regular file, up to a limit
text_files  the encodings that are read; halves of characters
urls        addresses on the web: told from paths, and in ASCII
yaml_io     safe YAML that remembers file and line; plain data on one line of YAML
yaml_slips  what YAML's parser refuses, as the slip that a person made
"""
