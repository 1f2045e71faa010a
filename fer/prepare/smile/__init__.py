"""openSMILE features of sound: `extract` computes and writes them, `python -m fer.prepare.smile` is the command."""
