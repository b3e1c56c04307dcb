"""Videos rated by people who do not know how they were made, and how far the judge agrees with them."""
