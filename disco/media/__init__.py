"""Picture and video files <-> tensors.

images        tensor <-> PNG, init pictures, contact sheets (the only user of PIL)
png           the PNG container: the text chunk with the settings, whether a file is whole
resize        a resize as products with matrices: dense for a GPU, banded for a CPU
perlin        the Perlin init
ffmpeg_read   any file that ffmpeg reads -> its pictures, or what is wrong with it
ffmpeg_write  pictures -> ffmpeg: the formats of video files
"""
