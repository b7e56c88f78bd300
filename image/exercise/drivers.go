package exercise

// Configuration switches on the drivers that the exercise needs, in the form of the image's setting OPENNEBULA_CONFIG: a line for each value,
// `<file> <key> = <value>`. In OpenNebula's own configuration they are commented out.
const Configuration = `oned.conf VM_MAD[NAME=dummy]/EXECUTABLE = one_vmm_dummy
oned.conf VM_MAD[NAME=dummy]/TYPE = xml
monitord.conf IM_MAD[NAME=dummy]/EXECUTABLE = one_im_sh
monitord.conf IM_MAD[NAME=dummy]/ARGUMENTS = -r 3 -t 15 -w 90 dummy
monitord.conf IM_MAD[NAME=dummy]/THREADS = 0
`
