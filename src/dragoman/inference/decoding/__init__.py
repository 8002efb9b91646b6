"""From audio to text: the encoder once, then the transcript and each translation by the LLM."""
