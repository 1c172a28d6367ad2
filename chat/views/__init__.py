"""The routes of conversations: who may, is it valid, and how it is answered."""
