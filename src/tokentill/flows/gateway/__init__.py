"""The gateway: model calls that are reserved before they run and charged by what they used."""
