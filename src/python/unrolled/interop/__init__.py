"""From and to the formats of other libraries; each needs its own optional package."""
