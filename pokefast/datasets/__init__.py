"""Drawing, composing and fetching what the embedded and the real competitions are made of."""
