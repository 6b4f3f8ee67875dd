"""What phones and server of a replay agree on."""

DOMAIN = "example.com"
PASSWORD = "secret"
USERS = 1000
