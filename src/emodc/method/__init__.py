"""The paper: its equations alone, in torch and numpy."""
