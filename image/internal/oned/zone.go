package oned

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Server is a front-end in a zone.
type Server struct {
	ID int `xml:"ID"`
	// Endpoint is where the other servers call it.
	Endpoint string `xml:"ENDPOINT"`
}

// ZoneServers returns the servers of a zone, out of the document that describes it.
func ZoneServers(document string) ([]Server, error) {
	var zone struct {
		Servers []Server `xml:"SERVER_POOL>SERVER"`
	}
	if err := xml.Unmarshal([]byte(document), &zone); err != nil {
		return nil, fmt.Errorf("read the document of a zone: %w", err)
	}
	for i := range zone.Servers {
		zone.Servers[i].Endpoint = strings.TrimSpace(zone.Servers[i].Endpoint)
	}
	return zone.Servers, nil
}

// ServerTemplate describes a server that is to be added to a zone.
func ServerTemplate(name, endpoint string) string {
	return fmt.Sprintf("SERVER = [ NAME = %q, ENDPOINT = %q ]", name, endpoint)
}
