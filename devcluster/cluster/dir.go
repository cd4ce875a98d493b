// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Where things lie inside the directory of a cluster.
const (
	lockFile       = "lock"
	portFile       = "port"
	kubeconfigFile = "kubeconfig"
	etcdDir        = "etcd"
	logsDir        = "logs"
	pkiDir         = "pki"
)

const (
	tempPrefix = "devcluster-"
	// abandonedAfter is how old a temporary directory must be before its lock is tried: a younger one may not be
	// locked yet.
	abandonedAfter = time.Minute
	// lockPatience covers the moment in which the children of a killed instance have not noticed its end.
	lockPatience = 3 * time.Second
)

// Dir is the directory that holds all of a cluster's state, locked against use by a second instance.
type Dir struct {
	path string
	temp bool
	// lock is inherited by the children, so that the lock is held until the last of them has ended.
	lock *os.File
}

// OpenDir creates and locks the directory at path. With an empty path it makes a temporary one, which Close removes,
// and clears away those that killed instances left behind.
func OpenDir(path string) (*Dir, error) {
	temp := path == ""
	if temp {
		removeAbandoned(os.TempDir())
		made, err := os.MkdirTemp("", tempPrefix)
		if err != nil {
			return nil, err
		}
		path = made
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockPatiently(path)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{logsDir, pkiDir} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o700); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return &Dir{path: path, temp: temp, lock: lock}, nil
}

// Close unlocks the directory, and removes it if it is a temporary one.
func (d *Dir) Close() error {
	var err error
	if d.temp {
		err = os.RemoveAll(d.path)
	}
	return errors.Join(err, d.lock.Close())
}

// file returns the absolute path of a file in the directory.
func (d *Dir) file(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

func lockPatiently(path string) (*os.File, error) {
	deadline := time.Now().Add(lockPatience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := tryLock(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return lock, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("directory %q is in use by another devcluster: stop that one or choose another --dir", path)
		}
		<-tick.C
	}
}

// tryLock opens and locks the lock file in the directory at path; EWOULDBLOCK says that another process holds it.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// removeAbandoned removes temporary directories whose instance ended without doing so. Errors do not matter: another
// user's directories cannot be removed, and what stays is tried again next time.
func removeAbandoned(parent string) {
	locks, _ := filepath.Glob(filepath.Join(parent, tempPrefix+"*", lockFile))
	for _, path := range locks {
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < abandonedAfter {
			continue
		}
		dir := filepath.Dir(path)
		if lock, err := tryLock(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}

// writeFile writes a private file so that readers see the old content or the new, never a part.
func writeFile(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // created with mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}
