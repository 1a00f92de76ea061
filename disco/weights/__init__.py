"""The registry of published networks, and verified local files of their weights.

registry  reads registry.yaml: files, sizes, SHA-256, mirrors, architecture, licence, defaults
fetch     registry entry or URL -> verified local file, with mirrors and resumed downloads
download  one file from one source into a .part file
hub       the Hugging Face hub
local     where weights lie on this machine, and the record of verified files
"""
