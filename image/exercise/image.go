package exercise

import (
	"context"
	"fmt"

	"opennebula-kube/image/internal/xmlrpc"
)

const (
	imageName           = Prefix + "image"
	imageDatastoreName  = Prefix + "images"
	systemDatastoreName = Prefix + "system"
)

const (
	imageReady = 1
	imageUsed  = 2
	imageError = 5
)

func imageStates() map[int]string {
	return map[int]string{
		0: "INIT", imageReady: "READY", imageUsed: "USED", 3: "DISABLED", 4: "LOCKED", imageError: "ERROR", 6: "CLONE", 7: "DELETE", 8: "USED_PERS",
		9: "LOCKED_USED", 10: "LOCKED_USED_PERS",
	}
}

func (t Target) datastores(ctx context.Context) ([]object, error) {
	return t.pool(ctx, "one.datastorepool.info")
}

func (t Target) images(ctx context.Context) ([]object, error) {
	return t.pool(ctx, "one.imagepool.info", everything()...)
}

// datastore makes a datastore of a type, unless it is there, and returns its number when oned knows how large it is: before, neither an
// image nor a virtual machine is put into it.
func (t Target) datastore(ctx context.Context, name, kind string) (int, error) {
	id, err := t.ensure(ctx, name, t.datastores, func(ctx context.Context) (int, error) {
		template := fmt.Sprintf("NAME = %q\nTYPE = %q\nTM_MAD = %q\n", name, kind, driver)
		if kind == "IMAGE_DS" {
			template += fmt.Sprintf("DS_MAD = %q\n", driver)
		}
		return t.allocate(ctx, "one.datastore.allocate", xmlrpc.Text(template), xmlrpc.Number(-1))
	})
	if err != nil {
		return 0, fmt.Errorf("make the datastore %s with the dummy drivers: %w; look whether TM_MAD and DATASTORE_MAD in oned.conf have them", name, err)
	}
	return id, t.until(ctx, fmt.Sprintf("wait until datastore %d (%s) is monitored", id, name), "look into oned.log for the reason",
		func(ctx context.Context) (string, bool, error) {
			var datastore struct {
				Total int64 `xml:"TOTAL_MB"`
			}
			err := t.document(ctx, &datastore, "one.datastore.info", xmlrpc.Number(id), xmlrpc.Bool(false))
			return fmt.Sprintf("its size is %d MB", datastore.Total), datastore.Total > 0, err
		})
}

// Image registers an image in a datastore of its own, unless it is there, returns when it can be used, and returns its number.
func (t Target) Image(ctx context.Context) (int, error) {
	datastore, err := t.datastore(ctx, imageDatastoreName, "IMAGE_DS")
	if err != nil {
		return 0, err
	}
	id, err := t.ensure(ctx, imageName, t.images, func(ctx context.Context) (int, error) {
		// The dummy driver does not look at the file.
		template := fmt.Sprintf("NAME = %q\nTYPE = \"OS\"\nPATH = \"/etc/hostname\"\n", imageName)
		return t.allocate(ctx, "one.image.allocate", xmlrpc.Text(template), xmlrpc.Number(datastore), xmlrpc.Bool(false))
	})
	if err != nil {
		return 0, fmt.Errorf("register the image %s in datastore %d: %w; look into oned.log for the reason", imageName, datastore, err)
	}
	return id, t.until(ctx, fmt.Sprintf("wait until image %d (%s) is ready", id, imageName), "look into oned.log for the reason",
		func(ctx context.Context) (string, bool, error) {
			var image struct {
				State int    `xml:"STATE"`
				Error string `xml:"TEMPLATE>ERROR"`
			}
			if err := t.document(ctx, &image, "one.image.info", xmlrpc.Number(id), xmlrpc.Bool(false)); err != nil {
				return "", false, err
			}
			if image.State == imageError {
				return "", false, fmt.Errorf("it is ERROR, %s: look into oned.log for more", quoted(image.Error, "without a message"))
			}
			return "it is " + stateName(imageStates(), image.State), image.State == imageReady || image.State == imageUsed, nil
		})
}

// quoted is a message of OpenNebula for an error, or what to say when there is none.
func quoted(message, none string) string {
	if message == "" {
		return none
	}
	return fmt.Sprintf("%q", clip(message))
}
