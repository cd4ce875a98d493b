// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// contextName is the name of cluster, user and context in every kubeconfig we write.
const contextName = "devcluster"

// kubeconfig returns the kubeconfig of one identity, with everything inside, so that the file can be moved.
func kubeconfig(server string, p pki, user string) ([]byte, error) {
	ca, err := os.ReadFile(p.caCert())
	if err != nil {
		return nil, err
	}
	token, err := p.token(user)
	if err != nil {
		return nil, err
	}
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{contextName: {Server: server, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{contextName: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{contextName: {Cluster: contextName, AuthInfo: contextName}},
		CurrentContext: contextName,
	})
}

// auditWebhookKubeconfig returns the file in which kube-apiserver looks up where to post audit events.
func auditWebhookKubeconfig(url string) ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{contextName: {Server: url}},
		Contexts:       map[string]*clientcmdapi.Context{contextName: {Cluster: contextName}},
		CurrentContext: contextName,
	})
}

// CheckKubeconfigTarget refuses to replace a kubeconfig that is not one of ours, such as the user's own.
func CheckKubeconfigTarget(path string) error {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return nil
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return fmt.Errorf("read %q, which --kubeconfig would replace: %w", path, err)
	}
	if _, ours := config.Contexts[contextName]; len(config.Contexts) > 1 || len(config.Contexts) == 1 && !ours {
		return fmt.Errorf("%q exists and was not written by devcluster: choose another file for --kubeconfig", path)
	}
	return nil
}
