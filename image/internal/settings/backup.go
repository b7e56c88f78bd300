package settings

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// S3Scheme is what the places of backups in object storage begin with.
const S3Scheme = "s3://"

// place takes a directory or a place in object storage.
func (r *reader) place(name string) string {
	value := r.text(name, "")
	bucket, inS3 := strings.CutPrefix(value, S3Scheme)
	switch {
	case value == "":
	case inS3 && (bucket == "" || strings.HasPrefix(bucket, "/")), !inS3 && !path.IsAbs(value):
		r.wrong(name, value, "give a directory, such as /backup, or a bucket with a prefix, such as s3://bucket/opennebula")
	}
	return value
}

func (r *reader) s3() S3 {
	s := S3{
		Endpoint:  r.text("S3_ENDPOINT", "https://s3.amazonaws.com"),
		Region:    r.text("S3_REGION", ""),
		AccessKey: r.secret("S3_ACCESS_KEY"),
		SecretKey: r.secret("S3_SECRET_KEY"),
		CA:        r.certificates("S3_CA"),
	}
	if u, err := url.Parse(s.Endpoint); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		r.wrong("S3_ENDPOINT", s.Endpoint, "give the URL of the server without a path, such as https://s3.example.org")
	}
	return s
}

func (r *reader) certificates(name string) string {
	value := r.content(name)
	if value != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(value)) {
		r.errs = append(r.errs, fmt.Errorf("%s%s has no certificate: give those of certificate authorities in PEM, each beginning with "+
			"-----BEGIN CERTIFICATE-----", Prefix, name))
	}
	return value
}

// checkS3 wants keys where they are needed.
func (r *reader) checkS3(s Settings) {
	for _, place := range []struct{ name, value string }{{"BACKUP_TO", s.Backup.To}, {"RESTORE_FROM", s.RestoreFrom}} {
		if !strings.HasPrefix(place.value, S3Scheme) {
			continue
		}
		for _, key := range []struct{ name, value string }{{"S3_ACCESS_KEY", s.S3.AccessKey}, {"S3_SECRET_KEY", s.S3.SecretKey}} {
			if key.value == "" && r.env[key.name+"_FILE"] == "" {
				r.errs = append(r.errs, fmt.Errorf("%s%s is %q, but %s%s is not set: give it, or %s%s_FILE",
					Prefix, place.name, place.value, Prefix, key.name, Prefix, key.name))
			}
		}
	}
}
