"""What is true of text, whatever model wrote it: languages, scripts, repetition."""
