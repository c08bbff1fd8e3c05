"""What the commands of `comagic-pipeline` do, one module each. How they are called is in `cli.py`."""
