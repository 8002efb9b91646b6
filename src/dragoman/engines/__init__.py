"""The same model on engines that were built for many requests or many machines."""
