"""Where attempts are made: here, on several servers, or on other machines by Ray."""
