"""Old settings files -> ours: Disco Diffusion's _settings.txt, DiscoArt's YAML, progrockdiffusion's JSON.

`import_settings(path)` recognises the format by its content and accounts for every key: mapped, changed or
dropped. `to_yaml(imported)` writes the result as a settings file. The facts about the three formats come from
reading the tools (disco.py 5.7, DiscoArt 0.12, prd.py of July 2022).
"""

from disco.settings.importers.draft import Imported
from disco.settings.importers.reading import import_settings
from disco.settings.importers.writing import to_yaml

__all__ = ["Imported", "import_settings", "to_yaml"]
