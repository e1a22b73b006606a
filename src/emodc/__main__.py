"""``python -m emodc`` is ``emodc``."""

from emodc.cli import main

main()
