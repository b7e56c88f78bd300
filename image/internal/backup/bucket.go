package backup

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"opennebula-kube/image/internal/settings"
)

// partSize is that of the parts of an upload, which are held in memory; 10000 of them make the largest backup, of 160 GB.
const partSize = 16 << 20

// bucket is a store in object storage that speaks S3.
type bucket struct {
	client           *minio.Client
	name, prefix, at string
}

// newBucket takes a place without its scheme: <bucket>/<prefix>.
func newBucket(place string, s settings.S3) (*bucket, error) {
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, err
	}
	secure := endpoint.Scheme == "https"
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	if secure && s.CA != "" {
		trusted, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the certificates that the system trusts: %w", err)
		}
		trusted.AppendCertsFromPEM([]byte(s.CA))
		transport.TLSClientConfig.RootCAs = trusted
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: secure, Region: s.Region, Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("reach object storage at %s: %w", s.Endpoint, err)
	}
	name, prefix, _ := strings.Cut(place, "/")
	return &bucket{client: client, name: name, prefix: strings.Trim(prefix, "/"), at: s.Endpoint}, nil
}

func (b *bucket) String() string {
	return settings.S3Scheme + path.Join(b.name, b.prefix) + " at " + b.at
}

func (b *bucket) key(name string) string { return path.Join(b.prefix, name) }

func (b *bucket) Save(ctx context.Context, name string, write func(io.Writer) error) error {
	content, input := io.Pipe()
	go func() { input.CloseWithError(write(input)) }()
	_, err := b.client.PutObject(ctx, b.name, b.key(name), content, -1, minio.PutObjectOptions{
		ContentType: "application/gzip", PartSize: partSize,
	})
	// Ends the writer when it is the upload that has failed.
	content.CloseWithError(err)
	return err
}

func (b *bucket) Names(ctx context.Context) ([]string, error) {
	prefix := b.prefix
	if prefix != "" {
		prefix += "/"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var names []string
	for object := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix}) {
		if object.Err != nil {
			return nil, object.Err
		}
		if name := strings.TrimPrefix(object.Key, prefix); namePattern.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (b *bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	object, err := b.client.GetObject(ctx, b.name, b.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	// Nothing has been asked of the server yet.
	if _, err := object.Stat(); err != nil {
		_ = object.Close()
		return nil, err
	}
	return object, nil
}

func (b *bucket) Remove(ctx context.Context, name string) error {
	return b.client.RemoveObject(ctx, b.name, b.key(name), minio.RemoveObjectOptions{})
}
