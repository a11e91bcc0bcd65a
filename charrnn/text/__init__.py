"""Text: vocabularies, prepared folders of symbols, and the streams that training reads."""
