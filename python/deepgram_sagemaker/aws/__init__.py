"""The AWS side: where the service is, how it is asked, and what its failures mean."""
