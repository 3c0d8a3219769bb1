"""DICOM: reading, windowing, tags, secondary captures."""
