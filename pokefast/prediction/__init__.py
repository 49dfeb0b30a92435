"""Model files, and from an image's file to its class.

Imports models/ and what lies below it."""
