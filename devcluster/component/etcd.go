// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"

	"berth.dev/berth/devcluster/cluster"
)

// etcdQuotaBytes is the size at which etcd stops taking writes. Benchmarks with ten thousand profiles pass the default
// of 2 GiB, because nothing compacts the history faster than every five minutes.
const etcdQuotaBytes = 8 << 30

// healthTimeout is how long etcd may take to serve after it started, which includes reading its data.
const healthTimeout = time.Minute

// advertised is what other members and clients would be told. It must look like a network address; with one member and
// one client that knows the socket, nobody asks.
var advertised = []url.URL{{Scheme: "http", Host: "localhost:2380"}}

// runEtcd serves one etcd member on unix sockets in the working directory: no port to choose, and nobody but the owner
// of the directory can connect.
func runEtcd(ctx context.Context, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	flags := pflag.NewFlagSet(cluster.Etcd, pflag.ContinueOnError)
	dataDir := flags.String("data-dir", "", "directory of the data")
	clientSocket := flags.String("client-socket", "", "unix socket for clients, relative to the working directory")
	peerSocket := flags.String("peer-socket", "", "unix socket for peers, relative to the working directory")
	readyFile := flags.String("ready-file", "", "file to create when clients are served")
	if err := flags.Parse(args); err != nil {
		return err
	}

	config := embed.NewConfig()
	config.Name = "devcluster"
	config.Dir = *dataDir
	config.ListenClientUrls = socketURL(*clientSocket)
	config.ListenPeerUrls = socketURL(*peerSocket)
	config.AdvertiseClientUrls = advertised
	config.AdvertisePeerUrls = advertised
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.QuotaBackendBytes = etcdQuotaBytes
	config.UnsafeNoFsync = true // the data need not survive a power cut
	config.LogLevel = "warn"
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // zero would log every request

	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer server.Close()

	if err := awaitHealth(ctx, *clientSocket); err != nil {
		return fmt.Errorf("wait for etcd's health: %w", err)
	}
	if err := os.WriteFile(*readyFile, nil, 0o600); err != nil {
		return err
	}

	select {
	case <-ctx.Done():
		return nil
	case <-server.Server.StopNotify():
		return fmt.Errorf("etcd stopped")
	case err := <-server.Err():
		return fmt.Errorf("serve etcd: %w", err)
	}
}

// awaitHealth returns when clients are served. The socket accepts connections before that, but drops them, and the API
// server would wait a second before it tries again. The question is asked from here, because elsewhere the socket's
// path may be too long to connect to.
func awaitHealth(ctx context.Context, socket string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://etcd/health", http.NoBody)
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := client.Do(request)
		if err == nil {
			err = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return err
			}
			err = fmt.Errorf("status %s", response.Status)
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// socketURL writes a socket's path the way etcd wants it: relative paths stand where a host would, which also keeps
// them short enough for the 104 bytes that some systems allow for a socket's address.
func socketURL(path string) []url.URL {
	return []url.URL{{Scheme: "unix", Host: path}}
}
