"""What a person or a scheduler starts: the ``promptmill`` command and the ``spark-submit`` scripts."""
