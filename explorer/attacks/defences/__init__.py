"""What can be done about an attack when a picture is read: the model's weights stay as they are."""
