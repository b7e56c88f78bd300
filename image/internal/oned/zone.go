package oned

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// Server is a front-end in a zone.
type Server struct {
	ID int
	// Endpoint is where the other servers call it, and GRPC where they call it from OpenNebula 7.2 on, with gRPC; "" for not at all.
	Endpoint, GRPC string
}

// GRPCEndpoint is where oned of a machine answers gRPC, at the port that it has unless it is told another. It has no scheme: oned takes what
// has the path of XML-RPC in it for that, and all else for gRPC.
func GRPCEndpoint(name string) string { return net.JoinHostPort(name, "2634") }

// ZoneServers returns the servers of a zone, out of the document that describes it.
func ZoneServers(document string) ([]Server, error) {
	found, err := findServers(document)
	if err != nil {
		return nil, err
	}
	var servers []Server
	for _, server := range found {
		servers = append(servers, server.Server)
	}
	return servers, nil
}

// AddGRPC returns a zone's document in which the servers with the given end points, by which they are found, have one for gRPC too. All else in
// it stays as it is.
func AddGRPC(document string, grpc map[string]string) (string, error) {
	found, err := findServers(document)
	if err != nil {
		return "", err
	}
	var changed strings.Builder
	done := 0
	for _, server := range found {
		if endpoint := grpc[server.Endpoint]; endpoint != "" && server.GRPC == "" {
			changed.WriteString(document[done:server.from] + "<ENDPOINT_GRPC><![CDATA[" + endpoint + "]]></ENDPOINT_GRPC>")
			done = server.to
		}
	}
	return changed.String() + document[done:], nil
}

// serverInZone is a server and where it is in the document.
type serverInZone struct {
	Server
	// from and to delimit the element with the end point for gRPC, or are where it would be.
	from, to int
}

func findServers(document string) ([]serverInZone, error) {
	var servers []serverInZone
	var id string
	decoder := xml.NewDecoder(strings.NewReader(document))
	zones := 0
	for path := []string(nil); ; {
		from := int(decoder.InputOffset())
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the document of a zone: %w", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			switch place := strings.Join(path, "/"); place {
			case "ZONE":
				zones++
			case "ZONE/SERVER_POOL/SERVER":
				servers, id = append(servers, serverInZone{}), ""
			case "ZONE/SERVER_POOL/SERVER/ID", "ZONE/SERVER_POOL/SERVER/ENDPOINT", "ZONE/SERVER_POOL/SERVER/ENDPOINT_GRPC":
				text, err := textOf(decoder)
				if err != nil {
					return nil, fmt.Errorf("read %s in the document of a zone: %w", place, err)
				}
				path = path[:len(path)-1]
				server, to := &servers[len(servers)-1], int(decoder.InputOffset())
				switch token.Name.Local {
				case "ID":
					id = text
				case "ENDPOINT":
					if server.Endpoint = strings.TrimSpace(text); server.to == 0 {
						server.from, server.to = to, to
					}
				default:
					server.GRPC, server.from, server.to = strings.TrimSpace(text), from, to
				}
			}
		case xml.EndElement:
			if strings.Join(path, "/") == "ZONE/SERVER_POOL/SERVER" {
				if servers[len(servers)-1].ID, err = strconv.Atoi(strings.TrimSpace(id)); err != nil {
					return nil, fmt.Errorf("read the document of a zone: a server has the ID %q, a number was expected", id)
				}
			}
			path = path[:len(path)-1]
		}
	}
	if zones != 1 {
		return nil, fmt.Errorf("read the document of a zone: it has %d elements ZONE, one was expected", zones)
	}
	return servers, nil
}

// ServerTemplate describes a server that is to be added to a zone. grpc is "" for an OpenNebula that has no gRPC.
func ServerTemplate(name, endpoint, grpc string) string {
	if grpc == "" {
		return fmt.Sprintf("SERVER = [ NAME = %q, ENDPOINT = %q ]", name, endpoint)
	}
	return fmt.Sprintf("SERVER = [ NAME = %q, ENDPOINT = %q, ENDPOINT_GRPC = %q ]", name, endpoint, grpc)
}
