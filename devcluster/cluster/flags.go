// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"strings"

	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// Sockets of etcd, and the file that says it serves, relative to the directory of the cluster, which is the working directory of all parts.
const (
	etcdClientSocket = "etcd.sock"
	etcdPeerSocket   = "etcd-peer.sock"
	etcdReadyFile    = "etcd.ready"
)

const auditWebhookFile = "audit-webhook.kubeconfig"

// controllers are those that a cluster without nodes needs. All others stay off.
var controllers = []string{
	names.NamespaceController,
	names.ServiceAccountController,
	names.ResourceQuotaController,
	names.GarbageCollectorController,
	names.ClusterRoleAggregationController,
	names.RootCACertificatePublisherController,
	names.ValidatingAdmissionPolicyStatusController, // says what is wrong with the types in policies
}

func etcdArgs(d *Dir) []string {
	return []string{
		"--data-dir=" + d.file(etcdDir),
		"--client-socket=" + etcdClientSocket,
		"--peer-socket=" + etcdPeerSocket,
		"--ready-file=" + etcdReadyFile,
	}
}

// apiServerArgs leaves all admission plugins at their defaults.
func apiServerArgs(d *Dir, p pki, audit Audit) []string {
	args := []string{
		"--etcd-servers=unix://" + etcdClientSocket,
		"--secure-port=6443", // must be valid, and is not used: the socket is inherited
		"--tls-cert-file=" + p.servingCert(),
		"--tls-private-key-file=" + p.servingKey(),
		"--client-ca-file=" + p.caCert(),
		"--token-auth-file=" + p.tokens(),
		"--anonymous-auth=false",
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.serviceAccountKey(),
		"--service-account-signing-key-file=" + p.serviceAccountKey(),
		"--service-cluster-ip-range=10.0.0.0/16",
		"--endpoint-reconciler-type=none", // a loopback address is not a valid endpoint
		// A benchmark should meet the limits of the machine, not of the configuration.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1000",
		"--shutdown-delay-duration=0s",
	}
	if audit.PolicyFile != "" {
		args = append(args, "--audit-policy-file="+audit.PolicyFile)
	}
	if audit.WebhookURL != "" {
		args = append(args,
			"--audit-webhook-config-file="+d.file(auditWebhookFile),
			"--audit-webhook-batch-max-wait=200ms", // the default of 30 s would keep every reader waiting
			"--audit-webhook-initial-backoff=500ms",
			"--audit-webhook-batch-throttle-enable=false",
		)
	}
	return args
}

func controllerManagerArgs(d *Dir, p pki) []string {
	return []string{
		"--kubeconfig=" + d.file(controllerManagerKubeconfig),
		"--controllers=" + strings.Join(controllers, ","),
		"--use-service-account-credentials=true", // as kubeadm does; admission policies see the same users
		"--root-ca-file=" + p.caCert(),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--concurrent-namespace-syncs=20",
		"--concurrent-resource-quota-syncs=10",
		"--concurrent-gc-syncs=20",
		"--resource-quota-sync-period=30s",
	}
}
