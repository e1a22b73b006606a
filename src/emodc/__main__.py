"""``python -m emodc`` is ``emodc``."""

from emodc.cli.app import main

main()
