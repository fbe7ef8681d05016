"""Piles of images into archives: what they are like, which model suits them, and what it saves."""
