"""Pure maps from the last frame to the next one's start: no disk, no settings file, no globals."""
