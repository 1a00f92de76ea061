"""Old settings files -> ours: Disco Diffusion's _settings.txt, DiscoArt's YAML, progrockdiffusion's JSON.

reading           import_settings(path): reads the file, accounts for what cannot be read
encodings         the text of a file, in an encoding that the report names
recognise         which tool wrote it, by the weight of all its keys
writing           to_yaml(imported): a settings file, changes noted beside the lines
builder           what an importer fills in and returns: every key mapped, changed or dropped
disco             Disco Diffusion's `<batch>(<run>)_settings.txt`, up to 5.7
discoart          DiscoArt's YAML, up to 0.12
progrock          progrockdiffusion's JSON, of July 2022
progrock_auto     the rules by which progrockdiffusion fills in "auto"
progrock_prompts  its prompts: by picture, by step, with random words
prompts           text_prompts in every form that the tools and their forks write
networks          the diffusion network of Disco's form: published, or one's own
nearest           the allowed value nearest to one that is out of range
old_values        values in other forms: schedules, sides, batch names, networks
clips             names of CLIP networks: flags, `ViT-B-32::openai`
animation         animation settings
"""
