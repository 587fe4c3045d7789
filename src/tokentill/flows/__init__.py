"""One module per verb of the business; flows apply rules and reach the world through ports."""
