"""Copies of all streams in a folder, and streams made from them: by JetStream's own snapshots."""
