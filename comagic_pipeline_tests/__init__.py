"""Tests in three tiers: unit (no network, no database), integration (real parts here), deployment (processes)."""
