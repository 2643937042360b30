"""Engines, which make the attempts: in this process, on several servers, or on other machines by Ray."""
