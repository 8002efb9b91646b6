"""The roads: what is asked, and what is answered."""
