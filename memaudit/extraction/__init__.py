"""What can be pulled out of a language model word for word: arithmetic on what was recorded and generated."""
