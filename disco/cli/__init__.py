"""argv, terminal, signals. disco/__main__.py catches the signals and calls command.run.

command   the command line: arguments, exit codes
parser    argparse as every verb has it
verbs     show, import, models
video     video, timelapse
upscale   upscale: enlarge finished pictures
plan      --plan: what a command would do
terminal  what a terminal shows of the events: bars, or with --quiet only paths
lines     what is said where nobody watches: plain lines
streams   stdout and stderr that end no command and steer no terminal
signals   SIGINT and SIGTERM
"""
