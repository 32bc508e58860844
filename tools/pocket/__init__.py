"""Builds the embedded pair `pocket` and `pocket-robust`; run by hand, never by the app."""
