package standin

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// attribute is a name with a value in OpenNebula's XML.
type attribute struct {
	XMLName xml.Name
	Value   string `xml:",chardata"`
}

// MarshalXML writes the value as OpenNebula does: as CDATA, even when it is empty.
func (a attribute) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(struct {
		Raw string `xml:",innerxml"`
	}{cdata(a.Value)}, xml.StartElement{Name: a.XMLName})
}

// cdata is how OpenNebula writes a value into XML.
func cdata(value string) string {
	return "<![CDATA[" + strings.ReplaceAll(value, "]]>", "]]]]><![CDATA[>") + "]]>"
}

// attributes are such pairs, in the order of their names.
type attributes struct {
	List []attribute `xml:",any"`
}

func (a attributes) get(name string) string {
	for _, pair := range a.List {
		if pair.XMLName.Local == name {
			return pair.Value
		}
	}
	return ""
}

func (a *attributes) set(name, value string) {
	a.List = slices.DeleteFunc(a.List, func(pair attribute) bool { return pair.XMLName.Local == name })
	a.List = append(a.List, attribute{xml.Name{Local: name}, value})
	slices.SortFunc(a.List, func(x, y attribute) int { return cmp.Compare(x.XMLName.Local, y.XMLName.Local) })
}

// zone is the XML document that describes a zone, with its elements in OpenNebula's order.
type zone struct {
	XMLName  xml.Name   `xml:"ZONE"`
	ID       int        `xml:"ID"`
	Name     string     `xml:"NAME"`
	State    int        `xml:"STATE"`
	Template attributes `xml:"TEMPLATE"`
	Pool     struct {
		Servers []attributes `xml:"SERVER"`
	} `xml:"SERVER_POOL"`
}

// errNoZone says that the database has no zone of an id.
var errNoZone = errors.New("no such zone")

// readZone reads a zone from the database, without which it is errNoZone.
func (s server) readZone(id int) (*zone, error) {
	body, err := s.run(fmt.Sprintf("SELECT body FROM zone_pool WHERE oid = %d;", id))
	if err != nil {
		return nil, err
	}
	if body == "" {
		return nil, errNoZone
	}
	z := &zone{}
	if err := xml.Unmarshal([]byte(body), z); err != nil {
		return nil, fmt.Errorf("read zone %d: %w", id, err)
	}
	return z, nil
}

// endpoints are where the servers of a zone answer XML-RPC, by their ids.
func (s server) endpoints(zone int) (map[int]string, error) {
	z, err := s.readZone(zone)
	if errors.Is(err, errNoZone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	endpoints := map[int]string{}
	for _, server := range z.Pool.Servers {
		id, err := strconv.Atoi(server.get("ID"))
		if err != nil {
			return nil, fmt.Errorf("zone %d: a server without a number for an ID: %w", zone, err)
		}
		endpoints[id] = server.get("ENDPOINT")
	}
	return endpoints, nil
}

// addServer puts a server into the zone, as a template or as XML describes it, and returns its id and its end point.
func (z *zone) addServer(template string) (id int, endpoint string, err error) {
	added, err := parseServer(template)
	if err != nil {
		return 0, "", err
	}
	if added.get("NAME") == "" {
		return 0, "", errors.New("Missing NAME in SERVER")
	}
	if added.get("ENDPOINT") == "" && added.get("ENDPOINT_GRPC") == "" {
		return 0, "", errors.New("Missing ENDPOINT or ENDPOINT_GRPC in SERVER")
	}
	for _, server := range z.Pool.Servers {
		if has, err := strconv.Atoi(server.get("ID")); err == nil {
			id = max(id, has+1)
		}
	}
	added.set("ID", strconv.Itoa(id))
	z.Pool.Servers = append(z.Pool.Servers, added)
	return id, added.get("ENDPOINT"), nil
}

func parseServer(template string) (added attributes, err error) {
	found := false
	if strings.HasPrefix(strings.TrimSpace(template), "<") {
		var given struct {
			Servers []attributes `xml:"SERVER"`
		}
		if err := xml.Unmarshal([]byte(template), &given); err != nil {
			return added, fmt.Errorf("Error parsing XML document: %w", err)
		}
		if found = len(given.Servers) > 0; found {
			for _, pair := range given.Servers[0].List {
				added.set(pair.XMLName.Local, pair.Value)
			}
		}
	} else {
		values, err := parseConfig("template", template)
		if err != nil {
			return added, err
		}
		for name, value := range values {
			if member, ok := strings.CutPrefix(name, "SERVER."); ok {
				found = true
				added.set(member, value)
			}
		}
	}
	if !found {
		return added, errors.New("SERVER not found in template")
	}
	return added, nil
}

// statement writes the zone into the database.
func (z *zone) statement(verb string) (string, error) {
	body, err := xml.Marshal(z)
	if err != nil {
		return "", err
	}
	if verb == "UPDATE" {
		return fmt.Sprintf("UPDATE zone_pool SET name = %s, body = %s WHERE oid = %d", text(z.Name), text(string(body)), z.ID), nil
	}
	return fmt.Sprintf("INSERT INTO zone_pool VALUES (%d, %s, %s, 0, 0, 1, 0, 0)", z.ID, text(z.Name), text(string(body))), nil
}

// createZone makes zone 0, unless it exists. The ids below 100 are OpenNebula's own.
func (s server) createZone(config map[string]string, grpc bool) error {
	if _, err := s.readZone(0); !errors.Is(err, errNoZone) {
		return err
	}
	z := &zone{Name: "OpenNebula"}
	z.Template.set("ENDPOINT", cmp.Or(config["FEDERATION.MASTER_ONED"], "http://localhost:"+cmp.Or(config["PORT"], "2633")+"/RPC2"))
	if grpc {
		z.Template.set("ENDPOINT_GRPC", cmp.Or(config["FEDERATION.MASTER_ONED_GRPC"], "localhost:"+cmp.Or(config["GRPC_PORT"], "2634")))
	}
	insert, err := z.statement("INSERT")
	if err != nil {
		return err
	}
	_, err = s.run(script(insert, lastID("zone_pool", 99)))
	return err
}
