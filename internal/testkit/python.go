package testkit

import (
	"os"
	"path/filepath"
)

// The Celery versions that are tested with, by the names that "make setup" gives
// to their environments.
const (
	CeleryOld = "celery-5.2"
	CeleryNew = "celery-5"
)

// Python returns the interpreter of an environment with Celery.
func Python(t T, celery string) string {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	path := filepath.Join(cache, "evently-workers", celery, "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no environment with %s: %v; run make setup", celery, err)
	}
	return path
}

// PythonEnv is the environment of Python processes.
func PythonEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8",
		"PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore",
		"C_FORCE_ROOT=1", // Celery's consent to run as root, as containers do
	}
}
