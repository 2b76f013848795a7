"""Documents for people: templates, fonts and the typesetter."""
