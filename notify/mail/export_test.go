package mail

// Check renders every kind of email in every language, as NewRenderer does for the files of an operator.
var Check = (*Renderer).check
