"""`dragoman train`, `bases`, `encode` and `finetune`."""
