package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// validity is how long a cluster's certificates last, which are made anew at each start.
const validity = 30 * 24 * time.Hour

// writeCredentials makes a certificate authority for this start, what the API server needs, and a kubeconfig for each of its clients: those of the
// node reach it at server, the administrator's file kubeconfig at address. The key that signs service accounts' tokens is kept from earlier starts.
func writeCredentials(dir, server, address, kubeconfig string) error {
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	keys, configs := filepath.Join(dir, "pki"), filepath.Join(dir, "config")
	for _, d := range []string{keys, configs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(keys, "ca.crt"), authority.encoded, 0o644); err != nil {
		return err
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(filepath.Join(keys, "serviceaccounts.key")); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return err
	}
	for _, pair := range []struct {
		name    string
		subject x509.Certificate
	}{
		{"apiserver", x509.Certificate{
			Subject:     pkix.Name{CommonName: "kube-apiserver"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			// The last is the service "kubernetes".
			IPAddresses: []net.IP{net.ParseIP(loopback), net.ParseIP(host), net.ParseIP("10.96.0.1")},
			DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		}},
		{"apiserver-kubelet", client("kube-apiserver", "system:masters")},
	} {
		certificate, key, err := authority.issue(pair.subject)
		if err != nil {
			return err
		}
		err = errors.Join(
			os.WriteFile(filepath.Join(keys, pair.name+".crt"), certificate, 0o644),
			os.WriteFile(filepath.Join(keys, pair.name+".key"), key, 0o600))
		if err != nil {
			return err
		}
	}
	for _, user := range []struct{ file, name, group, server string }{
		{kubeconfig, "admin", "system:masters", address},
		{filepath.Join(configs, "admin.kubeconfig"), "admin", "system:masters", server},
		{filepath.Join(configs, "kube-controller-manager.kubeconfig"), "system:kube-controller-manager", "", server},
		{filepath.Join(configs, "kube-scheduler.kubeconfig"), "system:kube-scheduler", "", server},
		{filepath.Join(configs, "kube-proxy.kubeconfig"), "system:kube-proxy", "", server},
		{filepath.Join(configs, "kubelet.kubeconfig"), "system:node:node", "system:nodes", server},
	} {
		certificate, key, err := authority.issue(client(user.name, user.group))
		if err != nil {
			return err
		}
		config := api.NewConfig()
		config.CurrentContext = "default"
		config.Contexts["default"] = &api.Context{Cluster: "default", AuthInfo: "default"}
		config.Clusters["default"] = &api.Cluster{Server: "https://" + user.server, CertificateAuthorityData: authority.encoded}
		config.AuthInfos["default"] = &api.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
		if err := clientcmd.WriteToFile(*config, user.file); err != nil {
			return err
		}
	}
	return nil
}

func client(name, group string) x509.Certificate {
	subject := pkix.Name{CommonName: name}
	if group != "" {
		subject.Organization = []string{group}
	}
	return x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// authority signs certificates. encoded is its own.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	encoded     []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "kubernetes"}, key)
	if err != nil {
		return nil, err
	}
	encoded, err := cert.EncodeCertificates(certificate)
	return &authority{certificate, key, encoded}, err
}

// issue completes a certificate, signs it, and returns it with its private key.
func (a *authority) issue(template x509.Certificate) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)); err != nil {
		return nil, nil, err
	}
	template.NotBefore = a.certificate.NotBefore
	template.NotAfter = time.Now().Add(validity)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, &template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if certificate, err = cert.EncodeCertificates(signed); err != nil {
		return nil, nil, err
	}
	key, err = keyutil.MarshalPrivateKeyToPEM(private)
	return certificate, key, err
}
