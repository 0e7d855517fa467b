"""An attack, a memorization proxy and a report format for memaudit."""
